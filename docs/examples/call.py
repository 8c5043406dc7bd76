"""A bank's own system makes one metered call through its own node. Standard library only.

python call.py NODE_URL CERTIFICATE TOKEN AGREEMENT_ID SUBJECT PURPOSE COLUMN...
"""

import json
import ssl
import sys
import urllib.request
import uuid

node, certificate, token, agreement, subject, purpose, *columns = sys.argv[1:]
tls = ssl.create_default_context(cafile=certificate)
tls.check_hostname = False  # the node's certificate is pinned as a file
body = {"agreementId": agreement, "subject": subject, "purpose": purpose, "columns": columns}
headers = {
    "Authorization": f"Bearer {token}",
    "Content-Type": "application/json",
    "Idempotency-Key": str(
        uuid.uuid4()
    ),  # keep it with the order: a retry under the same key is the same call
}
request = urllib.request.Request(f"{node}/v1/calls", json.dumps(body).encode(), headers)
with urllib.request.urlopen(request, context=tls) as answer:
    print(json.dumps(json.load(answer), ensure_ascii=False, indent=1))
