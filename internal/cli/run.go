package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/server"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// folderFlags say how a folder is read; run and check share them.
type folderFlags struct {
	endpoints []string
	namespace string
	labels    []string
	classes   []string
}

func (f *folderFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.endpoints, "endpoint", nil, "addresses of a service, as NAME.NAMESPACE:PORT=HOST:PORT[,HOST:PORT]; may be repeated")
	cmd.Flags().StringVar(&f.namespace, "namespace", "istio-system", "namespace in which credentialName is looked up first")
	cmd.Flags().StringSliceVar(&f.classes, "gateway-class", nil, "GatewayClasses that are ours whatever their controllerName says, as in manifests exported from another controller's cluster")
	cmd.Flags().StringSliceVar(&f.labels, "labels", []string{"istio=ingressgateway", "istio=egressgateway"}, "labels of this process, matched by a Gateway's selector; a label given twice has both values")
}

// settings turns the flags and TLS_MIN_VERSION into what an evaluation needs.
func (f *folderFlags) settings() (control.Settings, error) {
	var s control.Settings
	s.Namespace = f.namespace
	s.AssumeClasses = []string{"istio", "hakone"}
	s.AdoptClasses = f.classes
	s.ControllerName = server.ControllerName
	s.ClusterDomain = "cluster.local"
	s.Labels = map[string]string{}
	for _, l := range f.labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return s, usage("--labels %q is no NAME=VALUE", l)
		}
		if _, again := s.Labels[k]; !again {
			s.Labels[k] = v
			continue
		}
		if s.MoreLabels == nil {
			s.MoreLabels = map[string][]string{}
		}
		s.MoreLabels[k] = append(s.MoreLabels[k], v)
	}
	s.EndpointFlags = map[string][]string{}
	for _, e := range f.endpoints {
		name, addresses, ok := strings.Cut(e, "=")
		if !ok {
			return s, usage("--endpoint %q is no NAME.NAMESPACE:PORT=HOST:PORT", e)
		}
		if _, port, err := net.SplitHostPort(name); err != nil || !isPort(port) {
			return s, usage("--endpoint %q names no port of the service: NAME.NAMESPACE:PORT=HOST:PORT", e)
		}
		for a := range strings.SplitSeq(addresses, ",") {
			host, port, err := net.SplitHostPort(a)
			if err != nil || host == "" || !isPort(port) {
				return s, usage("--endpoint %q: %q is no HOST:PORT", e, a)
			}
			s.EndpointFlags[name] = append(s.EndpointFlags[name], a)
		}
	}
	if v := os.Getenv("TLS_MIN_VERSION"); v != "" {
		n, ok := tlsname.ParseVersion(v)
		if !ok {
			return s, &Failure{What: fmt.Sprintf("TLS_MIN_VERSION %q is no TLS version", v), Code: diag.TLSFloorInvalid, Fix: "use 1.0, 1.1, 1.2 or 1.3", Exit: ExitUsage}
		}
		s.MinVersion = n
	}
	return s, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func usage(format string, args ...any) error {
	return &Failure{What: fmt.Sprintf(format, args...), Exit: ExitUsage}
}

func newRun(s Streams) *cobra.Command {
	var folder folderFlags
	var c server.Config
	var portMap []string
	var logFormat, logLevel string
	cmd := &cobra.Command{
		Use:   "run --config DIR",
		Short: "Serve a folder of manifests",
		Long: `Serves the Istio and Gateway API manifests of one or several folders, and goes on doing so while they change.
The folder is read again on every change and on SIGHUP; SIGTERM drains. What is wrong is left out and named; what served goes on serving.`,
		Example: "  hakone run --config ./manifests --port-map 443=8443,80=8080 --endpoint httpbin.default:8000=127.0.0.1:8000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if c.Settings, err = folder.settings(); err != nil {
				return err
			}
			c.Settings.GeoDB = c.GeoIPDB != ""
			if c.PortMap, err = parsePortMap(portMap); err != nil {
				return err
			}
			if len(c.Folders) == 0 {
				return usage("hakone run needs a folder: --config DIR")
			}
			if c.Logger, err = newLogger(s.Err, logFormat, logLevel); err != nil {
				return err
			}
			c.AccessLog.Stdout = s.Out
			if !cmd.Flags().Changed("admin") {
				c.AdminFallback = true
			}
			err = server.Run(cmd.Context(), c)
			return runFailure(err)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.Folders, "config", nil, "folders of manifests (.yaml, .yml, .json)")
	f.StringVar(&c.Address, "address", "", "IP address that listeners bind (default: all addresses)")
	f.StringSliceVar(&portMap, "port-map", nil, "bind other ports than the manifests say, as 443=8443,80=8080")
	f.StringVar(&c.Admin, "admin", admin.DefaultAddress(), "admin address: unix:PATH (mode 0600) or HOST:PORT (reads only)")
	f.StringVar(&c.AdminTokenFile, "admin-token-file", "", "file of ROLE:TOKEN lines for a TCP admin address; roles viewer and operator")
	f.StringVar(&c.AdminCert, "admin-cert", "", "certificate file for an https admin address")
	f.StringVar(&c.AdminKey, "admin-key", "", "key file for an https admin address")
	f.StringVar(&c.AdminClientCA, "admin-client-ca", "", "CA file; its client certificates have the role operator")
	f.DurationVar(&c.SecretGrace, "secret-grace", 10*time.Second, "how long a deleted secret's certificate serves new handshakes")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", 30*time.Second, "how long requests in flight may take after SIGTERM")
	f.BoolVar(&c.Wait, "wait", false, "stay without a usable listener until there is one")
	f.StringVar(&logFormat, "log-format", "text", "operations log on stderr: text or json")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.AccessLog.Format, "access-log-format", "json", "access log: "+telemetry.Formats()+" or off")
	f.StringVar(&c.AccessLog.File, "access-log", "-", "access log file, - for stdout")
	f.StringVar(&c.GeoIPDB, "geoip-db", "", "file in MaxMind's format (.mmdb) with countries, by which origin pools with geo steering find out where clients are; read again when it changes")
	f.StringSliceVar(&c.TrustedNets, "trusted-proxies", nil, "CIDRs of proxies in front whose X-Forwarded-* and X-Request-Id are believed")
	f.UintSliceVar(&c.ProxyHeader, "proxy-protocol", nil, "declared ports whose connections begin with a PROXY header, version 1 or 2, from --trusted-proxies if there are some")
	f.IntVar(&c.TrustedHops, "trusted-hops", 0, "number of proxies in front that are believed whatever their address (Envoy's xff_num_trusted_hops)")
	f.StringVar(&c.ForwardCert, "forward-client-cert", "SANITIZE_SET", "X-Forwarded-Client-Cert and Client-Cert: SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET, ALWAYS_FORWARD_ONLY")
	registerRevocation(f, &c.Revocation)
	registerAuthority(f, &c.Authority)
	registerLogStore(f, &c.LogStore)
	registerLimits(f, &c.Limits)
	addRanges(f, &c)
	folder.register(cmd)
	return cmd
}

// parsePortMap reads "443=8443" pairs.
func parsePortMap(pairs []string) (map[uint16]uint16, error) {
	m := map[uint16]uint16{}
	for _, p := range pairs {
		from, to, ok := strings.Cut(p, "=")
		if !ok || !isPort(from) || !isPort(to) {
			return nil, usage("--port-map %q is no PORT=PORT", p)
		}
		f, _ := strconv.Atoi(from)
		t, _ := strconv.Atoi(to)
		m[uint16(f)] = uint16(t)
	}
	return m, nil
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level %q is none of debug, info, warn, error", level)
	}
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration { // JSON has them in nanoseconds, which nobody can tell from the number
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return nil, usage("--log-format %q is neither text nor json", format)
}

func runFailure(err error) error {
	var bad *server.ConfigError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrNoListener):
		return &Failure{What: "no listener can serve", Code: diag.NoUsableListener, Cause: strings.TrimPrefix(err.Error(), control.ErrNoListener.Error()+": "),
			Fix: "mend what is logged above (hakone check DIR lists it), or start with --wait", Exit: ExitUsage}
	case errors.As(err, &bad):
		return &Failure{What: bad.What, Cause: bad.Cause, Fix: bad.Fix, Exit: ExitUsage}
	}
	return &Failure{What: "hakone run ended", Cause: err.Error(), Fix: "mend the cause and start it again", Exit: ExitFailed}
}
