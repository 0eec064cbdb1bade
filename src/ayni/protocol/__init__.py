"""What hub and agent say to each other, and the rules of saying it. Pure: no socket, no database, no clock.

`messages` are the words, `attempts` the life of an attempt, `exchange` the rules of one sync,
`policy` what a site takes. Hub, agent and tests all use these same rooms.
"""
