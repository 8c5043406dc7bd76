"""Write the client library's models from the node's own OpenAPI description.

``python -m scripts.client_models`` writes the file; ``--check`` only says whether it is current.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

MODELS = Path(__file__).resolve().parents[1] / "nodes/client_library/src/qiaolian_client/models.py"
_HEADER = (
    '"""What a node answers. Written by ``python -m scripts.client_models``; do not edit."""\n'
)


def described() -> dict[str, Any]:
    """Return the description of the endpoints for the organisation's own systems."""
    from nodes.app import described_app

    document = described_app("a member").openapi()
    _tolerate(document["components"]["schemas"])
    document["paths"] = {
        path: item
        for path, item in document["paths"].items()
        if not path.startswith("/v1/peer/") and path != "/metrics"
    }
    return document


def _tolerate(schemas: dict[str, Any]) -> None:
    """Accept fields that a later node adds, and leave out titles that repeat the name."""
    for schema in schemas.values():
        schema.pop("additionalProperties", None)
        schema.pop("title", None)
        for property_schema in schema.get("properties", {}).values():
            property_schema.pop("title", None)
            for option in property_schema.get("anyOf", ()):
                # A class for each bound would be made; the node checks them anyway.
                for bound in ("minLength", "maxLength", "minimum", "maximum", "pattern"):
                    option.pop(bound, None)


def generated() -> str:
    """Return the models' source, formatted as the project's code is."""
    from datamodel_code_generator import InputFileType, PythonVersion, generate
    from datamodel_code_generator.enums import DataModelType
    from datamodel_code_generator.format import Formatter

    source = generate(
        json.dumps(described()),
        input_file_type=InputFileType.OpenAPI,
        output_model_type=DataModelType.PydanticV2BaseModel,
        target_python_version=PythonVersion.PY_311,
        formatters=[Formatter.RUFF_CHECK, Formatter.RUFF_FORMAT],
        disable_timestamp=True,
        use_annotated=True,
        use_union_operator=True,
        use_standard_collections=True,
        snake_case_field=True,
        allow_population_by_field_name=True,
        use_schema_description=True,
        collapse_root_models=True,
        custom_file_header=_HEADER,
    )
    if not isinstance(source, str):
        raise TypeError("one module is expected")
    return source


def main() -> int:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    source = generated()
    if parser.parse_args().check:
        current = MODELS.read_text(encoding="utf-8") == source
        if not current:
            print("The models are stale; run python -m scripts.client_models.", file=sys.stderr)
        return not current
    MODELS.write_text(source, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
