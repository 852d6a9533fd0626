"""Does the idea of each recipe help here?  Its arms and controls, at equal costs and passes.

    python -m benchmarks.studies.recipes --recipe prune-then-distill|epsd|sdp --data FOLDER

``__main__`` is the command; ``ARMS_OF`` of ``arms`` holds what is run, ``records`` what is written
down.  These are studies of the recipes in this project's setting, not reproductions of the papers.
"""
