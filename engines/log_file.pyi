# Native only: nothing here for Python to call.
