"""What this laptop surely knows about its way out: offline, a login page in the way, or maybe online."""

from .gate import ConnectivityGate
from .state import Connectivity
from .way import LinkEvents, SystemWay, Way

__all__ = ["Connectivity", "ConnectivityGate", "LinkEvents", "SystemWay", "Way"]
