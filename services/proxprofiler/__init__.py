"""proxprofiler: statistical profiles of VMs, and what they foretell."""
