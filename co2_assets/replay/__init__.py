"""The recorded server and the time machine: the platform's own world, offline.

`recorded/` holds what Energinet published, with its origins; `recordings.py` reads such a
folder, `server.py` serves it as Energi Data Service would, `faults.py` spoils it on
request, `machine.py` drives the real job over it.
"""
