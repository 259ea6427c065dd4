"""A local stand-in for LLM providers: latency, faults and enforced limits for demo, tests and benchmarks."""

from __future__ import annotations

from simulator.calllog import CallRecord
from simulator.config import LimitSettings, SimulatorConfig
from simulator.digest import request_digest, text_digest
from simulator.faults import Fault
from simulator.server import Simulator

__all__ = [
    "CallRecord",
    "Fault",
    "LimitSettings",
    "Simulator",
    "SimulatorConfig",
    "request_digest",
    "text_digest",
]
