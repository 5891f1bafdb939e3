"""Notes the revision of the code, for the run records of the jobs that are forked from the process that imports this.

They run the code that this process has imported, also if the files are changed during a sweep.
"""

from trainers.common.runs.provenance import git_revision

git_revision()
