"""The page of a result: as Markdown, and as one HTML file that needs no other.

The plots are SVG written here, some two hundred lines. Of the libraries that make SVG, matplotlib weighs 40 MB and
draws letters as outlines in colours that no style sheet reaches, so that a page would be neither small nor good in the
dark; the small ones (pygal, leather) have no bands and no names at the ends of curves.
"""
