"""The dashboard: pages in a browser over the published copy, by Streamlit and Plotly."""
