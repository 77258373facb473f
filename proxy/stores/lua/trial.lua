-- A write that is of no use, to see whether this user may make it and on how many disks it is.

redis.call('SET', KEYS[1], '1', 'PX', 1000)
return 1
