"""Print the JSON Schema of the study file: `python -m study > data/studies/study.schema.json`."""

import json

from study.settings import study_schema

if __name__ == "__main__":
    print(json.dumps(study_schema(), indent=1))
