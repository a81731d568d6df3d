package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/source/file"
	"github.com/hakone-gateway/hakone/internal/tlsname"
	"github.com/hakone-gateway/hakone/internal/trace"
)

// traceCommand carries the flags of "hakone trace".
type traceCommand struct {
	s                               Streams
	admin                           adminFlags
	folder                          folderFlags
	via, cacert, proxyCA, inspector string
	cert, key, minTLS, maxTLS       string
	method, output                  string
	connectTo, resolve, config      []string
	insecure, again, direct         bool
	noDirect                        bool
	follow                          int
	timeout                         time.Duration
}

func newTrace(s Streams) *cobra.Command {
	t := &traceCommand{s: s}
	cmd := &cobra.Command{
		Use:   "trace URL",
		Short: "Follow a request over every hop: DNS, TCP, proxy, TLS, certificates, who vouches, HTTP",
		Long: `Connects as a client would and draws every step: names and addresses, TLS with the proxy, CONNECT and its answer, TLS inside the tunnel, both sides'
certificates, which anchor each chain leads to, the answer, and how long each took. Where there is a proxy, the direct path is looked at too if it can
be reached, so that it shows who intercepts. With --config the proxy, its CA and its password are those that hakone run would use for the host; with
--admin the running process adds what it did with the request.
Exit code 3 means that something would be refused, 4 that there is no connection.`,
		Example: `  hakone trace https://example.com
  hakone trace https://example.com --via http://10.0.0.8:3128 --interception-ca corp-ca.pem
  hakone trace https://example.com --config ./manifests --admin unix:/run/hakone/admin.sock
  hakone trace https://shop.example.com --connect-to shop.example.com:443:127.0.0.1:8443 --cacert ca.crt -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&t.via, "via", "", "proxy to go through: http://HOST:PORT, https://HOST:PORT or HOST:PORT, with USER:PASSWORD@ where it wants them")
	f.StringVar(&t.cacert, "cacert", "", "PEM file of CAs that vouch for the destination, instead of the system's roots")
	f.StringVar(&t.proxyCA, "proxy-cacert", "", "PEM file of CAs that vouch for an https proxy itself, instead of the system's roots")
	f.StringVar(&t.inspector, "interception-ca", "", "PEM file of the CA that the proxy intercepts with; it vouches through the proxy alone")
	f.StringVar(&t.cert, "cert", "", "PEM file of a client certificate with its chain")
	f.StringVar(&t.key, "key", "", "PEM file of its key (default: in --cert)")
	f.StringArrayVar(&t.connectTo, "connect-to", nil, "HOST1:PORT1:HOST2:PORT2: connect there instead, as curl does; may be repeated")
	f.StringArrayVar(&t.resolve, "resolve", nil, "HOST:PORT:ADDRESS instead of DNS, as curl does; may be repeated")
	f.BoolVarP(&t.insecure, "insecure", "k", false, "go on with certificates that do not verify")
	f.BoolVar(&t.direct, "direct", false, "compare with the direct path, and say so if it cannot be reached")
	f.BoolVar(&t.noDirect, "no-direct", false, "leave the direct path alone")
	f.BoolVar(&t.again, "again", false, "connect a second time, to see whether the TLS session is resumed")
	f.IntVarP(&t.follow, "location", "L", 0, "how many redirects to follow")
	f.StringVarP(&t.method, "method", "X", "GET", "method of the request")
	f.StringVar(&t.minTLS, "tls-min", "", "lowest TLS version to offer (default: 1.0)")
	f.StringVar(&t.maxTLS, "tls-max", "", "highest TLS version to offer")
	f.DurationVar(&t.timeout, "timeout", 10*time.Second, "bound of each step")
	f.StringArrayVar(&t.config, "config", nil, "folder of manifests: take the UpstreamProxy that serves the host from there; may be repeated")
	f.StringVarP(&t.output, "output", "o", "text", "text, json or yaml")
	t.folder.register(cmd)
	t.admin.register(cmd)
	cmd.Flags().Lookup("admin").Usage = "ask the running process at this address what it did with the request"
	return cmd
}

func (t *traceCommand) run(cmd *cobra.Command, target string) error {
	if err := checkFormat(t.output, "text", "json", "yaml"); err != nil {
		return err
	}
	o, err := t.options(cmd.Context(), target)
	if err != nil {
		return err
	}
	p := trace.Run(cmd.Context(), o)
	var told json.RawMessage
	if cmd.Flags().Changed("admin") || os.Getenv("HAKONE_ADMIN") != "" {
		told = t.story(cmd.Context(), p)
	}
	if err := t.write(p, told); err != nil {
		return err
	}
	worst, any := p.Worst()
	switch {
	case p.Unreachable():
		return silent(ExitUnreachable)
	case any && worst >= diag.Error:
		return silent(ExitFindings)
	}
	return nil
}

func (t *traceCommand) write(p *trace.Picture, told json.RawMessage) error {
	if t.output != "text" {
		return writeAs(t.s.Out, t.output, struct {
			*trace.Picture
			Gateway json.RawMessage `json:"gateway,omitempty"`
		}{p, told})
	}
	p.Draw(t.s.Out)
	if told == nil {
		return nil
	}
	fmt.Fprintln(t.s.Out, "\nwhat the gateway did")
	return writeStory(t.s.Out, told, "text")
}

// options turns the flags into what is followed.
func (t *traceCommand) options(ctx context.Context, target string) (trace.Options, error) {
	o := trace.Options{Method: strings.ToUpper(t.method), Insecure: t.insecure, Again: t.again, Follow: t.follow, Timeout: t.timeout}
	var err error
	if !strings.Contains(target, "://") {
		target = "https://" + target
	}
	if o.URL, err = url.Parse(target); err != nil || o.URL.Hostname() == "" || o.URL.Scheme != "https" && o.URL.Scheme != "http" {
		return o, usage("%q is no URL of the form https://HOST[:PORT]/PATH", target)
	}
	switch {
	case t.direct && t.noDirect:
		return o, usage("--direct and --no-direct exclude each other")
	case t.direct:
		o.Direct = trace.DirectAlways
	case t.noDirect:
		o.Direct = trace.DirectNever
	}
	if t.follow < 0 || t.follow > 20 {
		return o, usage("-L wants 0 to 20")
	}
	if t.timeout < 100*time.Millisecond || t.timeout > 5*time.Minute {
		return o, usage("--timeout wants 100ms to 5m")
	}
	if o.MinVersion, err = versionFlag("tls-min", t.minTLS); err != nil {
		return o, err
	}
	if o.MaxVersion, err = versionFlag("tls-max", t.maxTLS); err != nil {
		return o, err
	}
	if err := t.places(&o); err != nil {
		return o, err
	}
	if o.Anchors, err = anchorsIn("cacert", t.cacert); err != nil {
		return o, err
	}
	if err := t.ours(&o); err != nil {
		return o, err
	}
	return o, t.proxyOf(ctx, &o)
}

func versionFlag(flag, text string) (uint16, error) {
	if text == "" {
		return 0, nil
	}
	v, ok := tlsname.ParseVersion(text)
	if !ok {
		return 0, usage("--%s %q is none of 1.0, 1.1, 1.2 and 1.3", flag, text)
	}
	return v, nil
}

// places reads --connect-to and --resolve.
func (t *traceCommand) places(o *trace.Options) error {
	o.Resolve, o.ConnectTo = map[string]string{}, map[string]string{}
	for _, text := range t.resolve {
		host, port, rest, ok := cutHostPort(text)
		ip, err := netip.ParseAddr(strings.Trim(rest, "[]"))
		if !ok || err != nil {
			return usage("--resolve %q is no HOST:PORT:ADDRESS", text)
		}
		o.Resolve[net.JoinHostPort(host, port)] = ip.String()
	}
	for _, text := range t.connectTo {
		host, port, rest, ok := cutHostPort(text)
		to, toPort, tail, ok2 := cutHostPort(rest + ":")
		if !ok || !ok2 || tail != "" {
			return usage("--connect-to %q is no HOST1:PORT1:HOST2:PORT2", text)
		}
		if host == "" {
			host = o.URL.Hostname()
		}
		if port == "" {
			port = firstOf(o.URL.Port(), map[string]string{"https": "443", "http": "80"}[o.URL.Scheme])
		}
		o.ConnectTo[net.JoinHostPort(host, port)] = net.JoinHostPort(firstOf(to, host), firstOf(toPort, port))
	}
	return nil
}

// cutHostPort splits "host:port:rest"; an IPv6 address stands in brackets.
func cutHostPort(s string) (host, port, rest string, ok bool) {
	if inner, found := strings.CutPrefix(s, "["); found {
		host, s, ok = strings.Cut(inner, "]:")
	} else {
		host, s, ok = strings.Cut(s, ":")
	}
	if !ok {
		return "", "", "", false
	}
	port, rest, ok = strings.Cut(s, ":")
	return host, port, rest, ok
}

// anchorsIn reads a file of CAs; nil for none.
func anchorsIn(flag, path string) (*trace.Anchors, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &Failure{What: "--" + flag + " cannot be read", Cause: err.Error(), Fix: "correct the path", Exit: ExitUsage}
	}
	bundle, _, err := secret.ParseBundle(data)
	if err != nil {
		return nil, &Failure{What: "--" + flag + " " + path + " holds no CA", Cause: err.Error(), Fix: "give a PEM file of certificates", Exit: ExitUsage}
	}
	return &trace.Anchors{From: path, Bundle: bundle}, nil
}

// ours reads the client certificate.
func (t *traceCommand) ours(o *trace.Options) error {
	if t.cert == "" {
		if t.key != "" {
			return usage("--key goes with --cert")
		}
		return nil
	}
	pair, err := tls.LoadX509KeyPair(t.cert, firstOf(t.key, t.cert))
	if err != nil {
		return &Failure{What: "the client certificate cannot be used", Cause: err.Error(), Fix: "correct --cert and --key", Exit: ExitUsage}
	}
	o.Certificate = &pair
	return nil
}

// proxyOf finds the proxy: that of --via, or of the configuration.
func (t *traceCommand) proxyOf(ctx context.Context, o *trace.Options) error {
	var err error
	if o.Interception, err = anchorsIn("interception-ca", t.inspector); err != nil {
		return err
	}
	switch {
	case t.via != "":
		u, err := parseProxyURL(t.via)
		if err != nil {
			return err
		}
		o.Proxy = &trace.Proxy{URL: u}
	case len(t.config) > 0:
		if err := t.configured(ctx, o); err != nil {
			return err
		}
	}
	if t.proxyCA != "" {
		if o.Proxy == nil {
			return usage("--proxy-cacert goes with --via or --config")
		}
		if o.Proxy.Anchors, err = anchorsIn("proxy-cacert", t.proxyCA); err != nil {
			return err
		}
	}
	return nil
}

// parseProxyURL reads a proxy's URL, whose scheme may be missing. Ports default to 3128 and 443.
func parseProxyURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil { // its words would quote the password
		return nil, usage("--via is no URL of the form http://[USER:PASSWORD@]HOST:PORT")
	}
	switch {
	case u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, usage("--via %s is no URL of the form http://[USER:PASSWORD@]HOST:PORT", u.Redacted())
	case u.Port() == "" && u.Scheme == "http":
		u.Host = net.JoinHostPort(u.Hostname(), "3128")
	case u.Port() == "":
		u.Host = net.JoinHostPort(u.Hostname(), "443")
	}
	return u, nil
}

// configured takes proxy, CAs and password from a folder of manifests, as hakone run would use them.
func (t *traceCommand) configured(ctx context.Context, o *trace.Options) error {
	settings, err := t.folder.settings()
	if err != nil {
		return err
	}
	set, _, err := file.New(t.config, slog.New(slog.DiscardHandler)).Load(ctx)
	if err != nil {
		return &Failure{What: "the folder cannot be read", Code: diag.FileUnreadable, Cause: err.Error(), Fix: "check path and permissions", Exit: ExitUsage}
	}
	s := control.Snapshot(set, settings)
	p := ir.ProxyFor(s.Config.Proxies, strings.ToLower(o.URL.Hostname()))
	if p == nil {
		fmt.Fprintf(t.s.Err, "no UpstreamProxy of %s serves %s: direct\n", strings.Join(t.config, ", "), o.URL.Hostname())
		return nil
	}
	if p.Fault != nil || len(p.Addresses) == 0 {
		f := &Failure{What: "the UpstreamProxy " + p.Name + " is broken", Fix: "see hakone check", Exit: ExitUsage}
		if p.Fault != nil {
			f.Code, f.Cause = p.Fault.Code, p.Fault.Detail
		}
		return f
	}
	o.Proxy = proxyFrom(p, s)
	if b := s.Trust.ByRef[p.Interception]; p.Interception != "" && o.Interception == nil {
		if b == nil || b.Bundle == nil {
			return &Failure{What: fmt.Sprintf("the interception CA %s of UpstreamProxy %s is missing", p.Interception, p.Name), Fix: "see hakone check", Exit: ExitUsage}
		}
		o.Interception = &trace.Anchors{From: "interception CA of UpstreamProxy " + p.Name, Bundle: b.Bundle}
	}
	return nil
}

// proxyFrom turns an UpstreamProxy into what is gone through: its first address.
func proxyFrom(p *ir.Proxy, s *ir.Snapshot) *trace.Proxy {
	a := p.Addresses[0]
	u := &url.URL{Scheme: "http", Host: net.JoinHostPort(a.Host, fmt.Sprint(a.Port))}
	out := &trace.Proxy{URL: u, Name: p.Name, Only: p.Interception != "" && !p.Either, Headers: map[string]string{}}
	if a.TLS {
		u.Scheme = "https"
		if p.TLS != nil {
			out.SNI = p.TLS.SNI
			if b := s.Trust.ByRef[p.TLS.Trust]; b != nil && b.Bundle != nil {
				out.Anchors = &trace.Anchors{From: "tls.caRef of UpstreamProxy " + p.Name, Bundle: b.Bundle}
			}
		}
	}
	for _, h := range p.Headers {
		out.Headers[h.Name] = h.Value
	}
	if l := s.Secrets.Logins[p.Login]; p.Login != "" && l != nil && l.Fault == nil {
		u.User = url.UserPassword(l.User, string(l.Password.Expose()))
	}
	return out
}

// story asks the running process for the last request; nil if it knows nothing, which is told.
func (t *traceCommand) story(ctx context.Context, p *trace.Picture) json.RawMessage {
	for p.Next != nil {
		p = p.Next
	}
	id := p.Answer.RequestID()
	if id == "" && len(p.Hops) > 0 && p.Hops[0].TCP != nil {
		id = p.Hops[0].TCP.Local // by the connection, as the first hop sees it
	}
	if id == "" {
		fmt.Fprintln(t.s.Err, "there was no connection that the gateway could be asked about")
		return nil
	}
	client, err := t.admin.client()
	if err != nil {
		fmt.Fprintln(t.s.Err, err)
		return nil
	}
	var raw []byte
	for range 10 { // the record is written after the answer
		if err = client.Get(ctx, "/explain/"+url.PathEscape(id), &raw); err == nil {
			return raw
		}
		var problem *admin.Problem
		if !errors.As(err, &problem) || problem.Status != 404 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	fmt.Fprintln(t.s.Err, "the gateway says nothing about request "+id+": "+classify(err).What)
	return nil
}
