package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/hakone-gateway/hakone/internal/trace"
)

// writeAs writes v as JSON or YAML.
func writeAs(w io.Writer, format string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	if format == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return fmt.Errorf("encode output: %w", err)
		}
		_, err = w.Write(b)
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// checkFormat refuses an unknown -o.
func checkFormat(format string, allowed ...string) error {
	for _, a := range allowed {
		if format == a {
			return nil
		}
	}
	return &Failure{What: fmt.Sprintf("-o %s is not an output format here", format), Fix: "use " + strings.Join(allowed, ", "), Exit: ExitUsage}
}

// table writes rows under upper-case headers, left-aligned, without borders.
type table struct {
	w *tabwriter.Writer
}

func newTable(w io.Writer, headers ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)}
	t.row(headers...)
	return t
}

// row writes one row. Cells may hold what peers have sent: what a terminal would obey is escaped.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		if cells[i] = trace.Printable(c); c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() { t.w.Flush() }

// adminTLS reads the client's side of an https admin address from the environment: HAKONE_CACERT,
// HAKONE_CLIENT_CERT, HAKONE_CLIENT_KEY. It returns nil if none is set.
func adminTLS() (*tls.Config, error) {
	ca, cert, key := os.Getenv("HAKONE_CACERT"), os.Getenv("HAKONE_CLIENT_CERT"), os.Getenv("HAKONE_CLIENT_KEY")
	if ca == "" && cert == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		b, err := os.ReadFile(ca)
		if err != nil {
			return nil, &Failure{What: "HAKONE_CACERT cannot be read", Cause: err.Error(), Fix: "correct the path", Exit: ExitUsage}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(b) {
			return nil, &Failure{What: "HAKONE_CACERT holds no certificate", Fix: "point it at a PEM file", Exit: ExitUsage}
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, &Failure{What: "the admin client certificate cannot be used", Cause: err.Error(), Fix: "correct HAKONE_CLIENT_CERT and HAKONE_CLIENT_KEY", Exit: ExitUsage}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// colored reports whether w is a terminal that wants colours: NO_COLOR and TERM=dumb say no,
// CLICOLOR_FORCE says yes.
func colored(w io.Writer) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	if os.Getenv("CLICOLOR_FORCE") != "" {
		return true
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
