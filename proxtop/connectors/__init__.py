"""What only a hypervisor can tell: its running VMs, their configuration, block and balloon statistics.

`detect(settings)` names the connector that fits this host, `create(name, settings)` makes it; then `open()` once, and
`discover()` and `statistics()` as often as wanted, from one thread.
"""

from __future__ import annotations

from proxtop.connectors.base import Connector, ConnectorError, Settings
from proxtop.connectors.detect import create, detect

__all__ = ["Connector", "ConnectorError", "Settings", "create", "detect"]
