"""One module per page, each with `show(source)`.

Not called `pages`: Streamlit runs the files of such a folder by itself, without app.py.
"""
