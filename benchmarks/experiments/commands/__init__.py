"""The experiments as commands of `thresher bench`: one file a command, which loads the rest when it is used."""
