package telemetry

import "strconv"

// grpcCodes is the number of codes that gRPC defines, 0 to 16.
const grpcCodes = 17

// grpcName returns a code's name as gRPC's libraries and Envoy write it, the number for others, and "-"
// for -1, which is none.
func grpcName(code int) string {
	switch code {
	case -1:
		return "-"
	case 0:
		return "OK"
	case 1:
		return "Canceled"
	case 2:
		return "Unknown"
	case 3:
		return "InvalidArgument"
	case 4:
		return "DeadlineExceeded"
	case 5:
		return "NotFound"
	case 6:
		return "AlreadyExists"
	case 7:
		return "PermissionDenied"
	case 8:
		return "ResourceExhausted"
	case 9:
		return "FailedPrecondition"
	case 10:
		return "Aborted"
	case 11:
		return "OutOfRange"
	case 12:
		return "Unimplemented"
	case 13:
		return "Internal"
	case 14:
		return "Unavailable"
	case 15:
		return "DataLoss"
	case 16:
		return "Unauthenticated"
	}
	return strconv.Itoa(code)
}

// grpcIndex returns where a status is counted: by its code, those that gRPC does not define and none
// together at the end.
func grpcIndex(code int) int {
	if code < 0 || code >= grpcCodes {
		return grpcCodes
	}
	return code
}

// grpcLabel is the label of what grpcIndex returned.
func grpcLabel(i int) string {
	if i == grpcCodes {
		return others
	}
	return strconv.Itoa(i)
}
