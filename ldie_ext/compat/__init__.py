"""Stand-ins for the interfaces of other libraries; none of them is needed to import this."""
