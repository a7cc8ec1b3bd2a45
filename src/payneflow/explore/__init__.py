"""The page to play with: one HTML file in which the networks are evaluated, and all of it plotted, without a server.

`write_page` (write.py) joins the files of page/, as the browser has them: page.html, style.css, ES modules, and uPlot,
which plots. What the page knows of a network file is one JSON text: facts.py says what is in it.
"""
