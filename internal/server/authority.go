package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Authority says which certificate authorities the process opens and serves. The zero value is none.
type Authority struct {
	Dir            string // --ca-dir
	Namespace      string // --ca-secret: authorities in Secret manifests of the first folder, instead of Dir
	Listen         string // --ca-listen: HOST:PORT of OCSP, CRLs and CA certificates, in plain HTTP; empty: not served
	PassphraseFile string
}

// maxAuthorityConns bounds the connections to --ca-listen; others wait to be accepted.
const maxAuthorityConns = 1024

// authority is the part of the process that has certificate authorities open.
type authority struct {
	service *ca.Service
	ln      net.Listener // nil: not served
	logger  *slog.Logger
}

// openAuthority opens what cfg names, or returns nil if it names nothing.
func openAuthority(ctx context.Context, cfg Config) (*authority, error) {
	c := cfg.Authority
	var store ca.Store
	switch {
	case c.Dir == "" && c.Namespace == "":
		if c.Listen != "" {
			return nil, &ConfigError{"--ca-listen has nothing to serve", "no authority is named", "give --ca-dir DIR or --ca-secret NAMESPACE too"}
		}
		return nil, nil
	case c.Dir != "" && c.Namespace != "":
		return nil, &ConfigError{"--ca-dir and --ca-secret cannot both be given", "a process opens one store of authorities", "give one of them"}
	case c.Dir != "":
		store = ca.Dir(c.Dir)
	default:
		store = ca.Secrets(cfg.Folders[0], c.Namespace)
	}
	o := ca.Options{Logger: cfg.Logger, By: "admin"}
	if c.PassphraseFile != "" {
		b, err := os.ReadFile(c.PassphraseFile)
		if err != nil {
			return nil, &ConfigError{"the passphrase of the authority cannot be read", err.Error(), "correct --ca-passphrase-file"}
		}
		o.Passphrase = secret.NewBytes(bytes.TrimRight(b, "\r\n"))
	}
	service, err := ca.NewService(ctx, store, o)
	if err != nil {
		return nil, &ConfigError{"the authorities cannot be opened", err.Error(), "correct --ca-dir or --ca-secret"}
	}
	out := &authority{service: service, logger: cfg.Logger}
	address := ""
	if c.Listen != "" {
		if out.ln, err = net.Listen("tcp", c.Listen); err != nil {
			return nil, &ConfigError{"the address of the authority cannot be used", err.Error(), "give another one with --ca-listen HOST:PORT, or end the process that has it"}
		}
		address = out.ln.Addr().String()
	}
	names := service.Names()
	if len(names) == 0 {
		cfg.Logger.Warn("there is no authority yet; it is taken up when hakone ca init makes one", "store", store.String())
	}
	cfg.Logger.Info("authority", "store", store.String(), "authorities", names, "address", address)
	return out, nil
}

// start keeps lists fresh, serves, and has forget forget what was known about revocation when that changes,
// until ctx ends. A nil authority does nothing.
func (a *authority) start(ctx context.Context, wg *sync.WaitGroup, forget func(...*x509.Certificate)) {
	if a == nil {
		return
	}
	wg.Go(func() { _ = a.service.Run(ctx) })
	wg.Go(func() { a.service.Watch(ctx, func(cas []*x509.Certificate) { forget(cas...) }) })
	if a.ln == nil {
		return
	}
	srv := &http.Server{Handler: a.service, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug)}
	wg.Go(func() {
		if err := srv.Serve(netutil.LimitListener(a.ln, maxAuthorityConns)); !errors.Is(err, http.ErrServerClosed) {
			a.logger.Error("the authority is not served any more", "err", err)
		}
	})
	wg.Go(func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			srv.Close()
		}
	})
}

// expiries are what of the process's authorities ends some day: their own certificates and their lists.
func (a *authority) expiries(now time.Time) []calendar.Entry {
	if a == nil {
		return nil
	}
	var out []calendar.Entry
	for _, name := range a.service.Names() {
		open, err := a.service.Authority(context.Background(), name)
		if err != nil {
			continue // the service has said so
		}
		info, err := open.Info()
		if err != nil {
			continue
		}
		out = append(out, admin.AuthorityExpiries(info, now)...)
	}
	return out
}

// authorityEndpoints let commands use the authorities of this process. Reads are for operators too: they
// tell every name that was ever certified.
func (p *process) authorityEndpoints() []admin.Endpoint {
	if p.authority == nil {
		return nil
	}
	return []admin.Endpoint{
		{Method: http.MethodGet, Pattern: admin.AuthorityPath, Role: "operator", Handler: func(w http.ResponseWriter, r *http.Request) {
			answer(w, map[string]any{"store": p.authority.service.Store().String(), "authorities": p.authority.service.Names()}, nil)
		}},
		{Method: http.MethodPost, Pattern: admin.AuthorityPath + "/{name}/{operation}", Role: "operator", Handler: p.authority.serve},
	}
}

func (a *authority) serve(w http.ResponseWriter, r *http.Request) {
	var call admin.AuthorityCall
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&call); err != nil {
		answer(w, nil, &admin.Problem{Status: http.StatusBadRequest, Title: "the body is no question to an authority: " + err.Error(), Fix: "Use the command of the same release as the running process."})
		return
	}
	out, err := a.ask(r.Context(), r.PathValue("name"), r.PathValue("operation"), call)
	answer(w, out, err)
}

// ask turns what the authority refuses into an answer; other errors stay errors.
func (a *authority) ask(ctx context.Context, name, operation string, call admin.AuthorityCall) (*admin.AuthorityAnswer, error) {
	open, err := a.service.Authority(ctx, name)
	var out *admin.AuthorityAnswer
	if err == nil {
		out, err = admin.AnswerAuthority(ctx, admin.LocalAuthority{Authority: open}, operation, call)
	}
	var e *ca.Error
	if !errors.As(err, &e) {
		if err != nil {
			return nil, fmt.Errorf("authority %q: %w", name, err)
		}
		return out, nil
	}
	refused := &admin.AuthorityAnswer{Refused: &admin.Problem{Code: e.Code, Title: e.Error(), Fix: e.Fix}, Findings: e.Findings}
	if out != nil && len(refused.Findings) == 0 {
		refused.Findings = out.Findings
	}
	return refused, nil
}
