package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is the value of a flag that counts bytes: a number, alone or with KiB, MiB or GiB.
type byteSize[T int | int64 | uint64] struct{ n *T }

// bytesVar makes p the value of a flag with a default.
func bytesVar[T int | int64 | uint64](p *T, value T) byteSize[T] {
	*p = value
	return byteSize[T]{p}
}

// Set implements pflag.Value.
func (b byteSize[T]) Set(text string) error {
	digits, shift := text, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			digits, shift = strings.TrimSpace(rest), 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return errors.New("not a number of bytes; write 65536, 64KiB, 16MiB or 2GiB")
	}
	if n < 0 || n > math.MaxInt64>>shift || int64(T(n<<shift)) != n<<shift {
		return errors.New("out of range")
	}
	*b.n = T(n << shift)
	return nil
}

// String implements pflag.Value.
func (b byteSize[T]) String() string {
	if b.n == nil || *b.n == 0 {
		return "0"
	}
	n := *b.n
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if size := T(1) << (30 - 10*i); n%size == 0 {
			return fmt.Sprintf("%d%s", n/size, unit)
		}
	}
	return fmt.Sprint(n)
}

// Type implements pflag.Value.
func (b byteSize[T]) Type() string { return "bytes" }
