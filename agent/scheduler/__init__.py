"""Many hosts: host table, filters, weighers, selection, and the store and API at the edge.

Where the Nova of 2018 and today's differ, or both leave a user in the dark, each point was decided on its merits:

| question | Nova 2018 | Nova 34 | here |
| --- | --- | --- | --- |
| zones, retries, vCPUs, memory, disk | filters | Placement, no filters | filters, with 2018's arithmetic |
| NUMATopology | exact fit on every host | the same | columns first, exact fit on those tried; |
| | | | ``numa_exact`` for every host |
| a forced host, ``zone:host`` | no filter | no filter, Placement's inventories | no filter, but the exact fit; |
| | | | one that refuses is not asked again |
| a host named for a move | filters, unless forced | filters | filters |
| several at once, some fit nowhere | all in ERROR | the same | those in ERROR; all when fewer than ``--min`` fit |
| affinity, a member that moves | bound to its own host too | the same | bound to the others, and not to a lost host |
| tenants, image properties, queries | ignored unless configured | the same | minded unless configured otherwise; |
| | | | a query that nobody reads is refused |
| ``same_host`` of a name | ignored: no id | refused: no UUID | the instance of that name, or refused |
| a malformed query or version | fails in the scheduler | the same | refused by name |
| why no host was found | in the debug log | the same | every filter's numbers, weights, misfits, kept |
"""
