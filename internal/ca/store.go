package ca

import (
	"context"
	"io"
	"regexp"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Store keeps authorities: for each a set of small entries, replaced whole, and one journal, appended to.
// Methods are safe for concurrent use, by several processes too; those that write are called with the
// authority's lock held. An absent entry is an error that wraps fs.ErrNotExist.
type Store interface {
	// String names the store for people.
	String() string
	// Authorities returns the names of those there are, sorted; a store that does not exist has none.
	Authorities() ([]string, error)
	// List returns the entries of an authority, sorted.
	List(authority string) ([]string, error)
	Get(authority, entry string) ([]byte, error)
	// Put replaces an entry atomically and returns when it is on the disk.
	Put(authority, entry string, data []byte) error
	// Journal reads the journal from a byte offset. An absent journal is an empty one.
	Journal(authority string, from int64) (io.ReadCloser, error)
	// Append cuts the journal at a byte offset, writes data there and returns when it is on the disk.
	Append(authority string, at int64, data []byte) error
	// Mark returns a value that differs once the journal has changed. It is cheap.
	Mark(authority string) (Mark, error)
	// Exposed returns entries that others of the machine can read or write and should not.
	Exposed(authority string) []string
	// Lock waits for the authority's lock until ctx ends. It creates what the lock needs.
	Lock(ctx context.Context, authority string) (release func(), err error)
}

// Mark is a state of a journal.
type Mark struct{ Size, Time int64 }

// Entries of an authority. Keys and certificates have the CA's ID before the suffix.
const (
	entryConfig = "authority.json"
	entryHead   = "journal.head"
	entryBundle = "ca.crt"
	entryLists  = "ca.crl"

	suffixKey  = ".key"
	suffixCert = ".crt"
	suffixList = ".crl"
)

// Names lists the authorities of a store.
func Names(s Store) ([]string, error) { return s.Authorities() }

// name is what an authority may be called: it becomes part of file, Secret and URL paths.
const namePattern = `^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`

func checkName(name string) error {
	if ok, _ := regexp.MatchString(namePattern, name); !ok {
		return fail(diag.AuthoritySetup, "Use lower-case letters, digits and hyphens, as in \"edge-2\".", "%q cannot be an authority's name: it takes 1 to 40 lower-case letters, digits and inner hyphens", name)
	}
	return nil
}

// broken wraps what the operating system said.
func broken(err error, format string, args ...any) error {
	return failWith(err, diag.AuthorityStore, "Correct the permissions or the disk, or give another place.", format, args...)
}
