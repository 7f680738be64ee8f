"""`koe talk`: a survey in the terminal, through the same engine as in the chats, for the person who writes it.

Nothing is stored and nothing is sent. Works without a platform, a database or a koe.yaml; what a shop would have set is
made up then.
"""
