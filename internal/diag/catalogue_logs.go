package diag

// Logs that are kept and pulled (6010 to 6029).
const (
	LogStoreWrite    Code = 6010
	LogStoreFull     Code = 6011
	LogStoreDamaged  Code = 6012
	LogStoreOff      Code = 6013
	LogQueryInvalid  Code = 6014
	LogFieldUnknown  Code = 6015
	LogRayNotFound   Code = 6016
	LogStoreNoFolder Code = 6017
	LogFollowLagging Code = 6018
)

// logCodes is the part of the catalogue about the log store.
func logCodes() []Entry {
	return []Entry{
		{LogStoreWrite, "log_store_write", Error, "records of requests cannot be kept", "Writing to the log store's folder fails. Traffic goes on; what is not kept is counted in hakone_log_store_dropped_total.", "See the error in the log and mend the disk or the folder's permissions; keeping goes on by itself.", 0},
		{LogStoreFull, "log_store_full", Error, "records of requests cannot be kept: the disk is full", "There is no room for the log store. Traffic goes on; what is not kept is counted in hakone_log_store_dropped_total.", "Make room, or give a --log-store-size that the disk has; keeping goes on by itself.", 0},
		{LogStoreDamaged, "log_store_damaged", Warning, "a part of the kept logs is damaged and left out", "A block's checksum does not fit, as after a fault of the disk or a change of the file. Nothing of such a block is shown.", "Look after the disk; the rest of the logs is whole.", 0},
		{LogStoreOff, "log_store_off", Error, "the process keeps no logs", "It was started with --log-store off.", "Start it without that flag, or with --log-store DIR.", 404},
		{LogQueryInvalid, "log_query_invalid", Error, "a parameter of the log query cannot be understood", "Times are RFC 3339 with any offset, Unix seconds or nanoseconds, now, or a duration such as 10m for that long ago; start is before end; sample is above 0 and at most 1; count is -1 or not negative.", "Correct the parameter that the message names.", 400},
		{LogFieldUnknown, "log_field_unknown", Error, "there is no log field of that name", "The list of fields names one that is not known. Names are those of Cloudflare's http_requests data set, and some of Hakone's own.", "List them with hakone logs pull --available-fields.", 400},
		{LogRayNotFound, "log_ray_not_found", Error, "no record of that RayID is kept", "It was never given out here, or its record is older than what is kept.", "Take the RayID from the answer's X-Request-Id, the error page or the access log; keep logs longer with --log-store, --log-store-age and --log-store-size.", 404},
		{LogStoreNoFolder, "log_store_no_folder", Error, "there are no kept logs in that folder", "The folder does not exist, or holds no log segments.", "Give the folder that hakone run has as --log-store.", 0},
		{LogFollowLagging, "log_follow_lagging", Warning, "what follows the logs was too slow", "More was recorded than was read, and the gap may not be closed without keeping everything in memory.", "Pull what is missing with --start, and follow with --sample or a filter.", 0},
	}
}
