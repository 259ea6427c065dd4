"""What events tell together: percentiles, sums, and OpenTelemetry's names for them."""

from producer.telemetry.genai_names import genai_attributes
from producer.telemetry.summary import Summary

__all__ = ["Summary", "genai_attributes"]
