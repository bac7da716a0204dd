"""Events: from the bytes of records to columns, and the reasons for what is refused on the way.

Import from the defining module; `codec` is the way in and `columns` what comes out.
"""
