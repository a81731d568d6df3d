package cli

import (
	"os"

	"github.com/spf13/pflag"

	"github.com/hakone-gateway/hakone/internal/server"
)

// registerAuthority adds the flags for the certificate authorities that the process has open.
func registerAuthority(f *pflag.FlagSet, a *server.Authority) {
	f.StringVar(&a.Dir, "ca-dir", "", "folder of certificate authorities to open: commands can use them through --admin, lists and OCSP responders are kept fresh")
	f.StringVar(&a.Namespace, "ca-secret", "", "namespace of authorities kept in Secret manifests of the first --config folder, instead of --ca-dir")
	f.StringVar(&a.Listen, "ca-listen", "", "HOST:PORT on which the authorities serve OCSP (/ocsp), revocation lists (/crl/NAME.crl) and CA certificates (/ca/NAME.crt), in plain HTTP as certificates refer to them")
	f.StringVar(&a.PassphraseFile, "ca-passphrase-file", os.Getenv("HAKONE_CA_PASSPHRASE_FILE"), "file with the passphrase of the authorities' keys")
}
