"""The compiled form: the modules that every message passes, as native code of the same source.

``python -m compiled`` makes it in ``build/compiled``; ``python -m compiled WORDS`` runs Python with
it first on its path (``python -m compiled -m ifengine serve``); ``IFENGINE_COMPILE=1 pip wheel .`` puts
it into a wheel (``make wheel``). ADR 0034 says why, and what a module of ``modules.txt`` may not do.
"""
