"""A bank's own system makes one metered call through its own node.

python call.py NODE_URL CERTIFICATE TOKEN AGREEMENT_ID SUBJECT PURPOSE COLUMN...
"""

import sys
import uuid

from qiaolian_client import Client, calls

node, certificate, token, agreement, subject, purpose, *columns = sys.argv[1:]
key = str(uuid.uuid4())  # keep it with the order: a retry under the same key is the same call
with Client(node, certificate=certificate, token=token) as client:
    answer = client.send(
        calls.one(agreement, subject=subject, columns=columns, purpose=purpose, key=key)
    )
print(answer.model_dump_json(by_alias=True, indent=1))
