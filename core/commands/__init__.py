"""The subcommands of ``maskrt``, a module each: NAME, HELP, DESCRIPTION, EPILOG, ``add_arguments``
and ``execute``. What a command needs beyond the standard library is imported when it runs.
"""
