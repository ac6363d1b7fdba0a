"""What a cell did at each step: its gates and memory, as arrays, as a table of text and as a plot."""
