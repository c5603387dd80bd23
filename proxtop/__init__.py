"""proxtop: virtual machines watched from the hypervisor."""

__version__ = "0.1.0"
