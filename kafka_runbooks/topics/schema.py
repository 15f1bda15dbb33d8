"""The JSON Schema of a document of definitions, made from its models, for editors."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from kafka_runbooks.models.topics import TopicDefinitions


class _WithoutNull(GenerateJsonSchema):
    """A field is left out, or has a value."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        return {key: value for key, value in made.items() if (key, value) != ("default", None)}


def topics() -> dict[str, Any]:
    """What one document alone can tell; `topics.checking` knows the rest."""
    made = TopicDefinitions.model_json_schema(schema_generator=_WithoutNull)
    return {"$schema": GenerateJsonSchema.schema_dialect, **made}
