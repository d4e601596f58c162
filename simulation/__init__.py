"""Random histories of the whole of control, in time that a computer makes up: `python -m simulation`. Not part of the
package."""
