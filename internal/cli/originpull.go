package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/server"
)

// originPull carries the flags of "hakone origin pull".
type originPull struct {
	s          Streams
	admin      adminFlags
	config     []string
	namespace  string
	zone, host string
	json       string
	enable     bool
	output     string
}

func newOriginPull(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull",
		Short: "Authenticated origin pull: the client certificate that origins are shown",
		Long: `Authenticated origin pull shows origins a client certificate, so that they can refuse everybody but this edge. It is set for a zone (all hosts below a
domain, and the domain) or for a single host, whose setting wins. The settings are OriginPull objects; these commands keep theirs in the managed files of the
configuration folder, through the running process or, with --config, without one.`,
		RunE: group("origin pull", "upload, ls, enable or disable"),
	}
	p := &originPull{s: s}
	upload := &cobra.Command{
		Use: "upload --json @FILE --zone ZONE|--host HOST", Short: "Upload a client certificate with its key", Args: cobra.NoArgs,
		Long: `Takes the JSON body that Cloudflare's and IBM CIS's API take: certificate and private_key as strings with \n for line ends. A new setting is off until
hakone origin pull enable (or --enable); where there is one, the certificate is replaced and it stays on or off.`,
		Example: `  CERT="$(perl -pe 's/\r?\n/\\n/' client.crt)"; KEY="$(perl -pe 's/\r?\n/\\n/' client.key)"
  echo "{\"certificate\": \"$CERT\", \"private_key\": \"$KEY\"}" > reqbody.json
  hakone origin pull upload --json @reqbody.json --zone mtls-test.net
  hakone origin pull enable --zone mtls-test.net`,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.upload(cmd.Context()) },
	}
	upload.Flags().StringVar(&p.json, "json", "", "the body: @FILE, @- for standard input, or the JSON itself")
	upload.Flags().BoolVar(&p.enable, "enable", false, "switch it on at once")
	ls := &cobra.Command{
		Use: "ls", Short: "List the settings of zones and hosts", Args: cobra.NoArgs, Example: "  hakone origin pull ls\n  hakone origin pull ls -o json",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.list(cmd.Context()) },
	}
	ls.Flags().StringVarP(&p.output, "output", "o", "table", "table, json or yaml; json has Cloudflare's field names")
	enable := &cobra.Command{
		Use: "enable --zone ZONE|--host HOST", Short: "Show the certificate to origins", Args: cobra.NoArgs, Example: "  hakone origin pull enable --zone mtls-test.net",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.change(cmd.Context(), true) },
	}
	disable := &cobra.Command{
		Use: "disable --zone ZONE|--host HOST", Short: "Show no certificate; for a host, not its zone's either", Args: cobra.NoArgs, Example: "  hakone origin pull disable --host www.mtls-test.net",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.change(cmd.Context(), false) },
	}
	for _, c := range []*cobra.Command{upload, ls, enable, disable} {
		if c != ls {
			c.Flags().StringVar(&p.zone, "zone", "", "the zone: example.com with all hosts below it")
			c.Flags().StringVar(&p.host, "host", "", "the host")
		}
		c.Flags().StringSliceVar(&p.config, "config", nil, "configuration folders to change (the first) or read, without a running process")
		c.Flags().StringVar(&p.namespace, "namespace", enroll.DefaultNamespace, "with --config: namespace of what is written")
		p.admin.register(c)
	}
	cmd.AddCommand(upload, ls, enable, disable)
	return cmd
}

// offline opens the folders of --config, or returns nil where a process is to be asked.
func (p *originPull) offline(ctx context.Context) (*server.Pulls, error) {
	if len(p.config) == 0 {
		return nil, nil
	}
	pulls, err := server.OpenPulls(ctx, p.config, p.namespace)
	if err != nil {
		return nil, &Failure{What: "the folder cannot be read", Code: diag.FileUnreadable, Cause: err.Error(), Fix: "check path and permissions", Exit: ExitUsage}
	}
	return pulls, nil
}

func (p *originPull) upload(ctx context.Context) error {
	if p.json == "" {
		return usage("hakone origin pull upload needs the body: --json @FILE")
	}
	if (p.zone == "") == (p.host == "") {
		return usage("give one of --zone and --host")
	}
	body := []byte(p.json)
	if path, isFile := strings.CutPrefix(p.json, "@"); isFile {
		var err error
		if body, err = readInput(path, p.s.In); err != nil {
			return &Failure{What: "the body cannot be read", Cause: err.Error(), Fix: "correct --json @FILE", Exit: ExitUsage}
		}
	}
	u := admin.PullUpload{Zone: p.zone, Host: p.host, Body: body, Enable: p.enable}
	done, err := p.apply(ctx, admin.PullPath, u, func(pulls *server.Pulls) (*admin.PullChanged, error) { return pulls.Upload(u) })
	if err != nil {
		return err
	}
	for _, f := range done.Findings {
		fmt.Fprintln(p.s.Err, f)
	}
	p.said(done)
	if !done.Pull.Enabled {
		fmt.Fprintf(p.s.Err, "it is not shown to origins yet: hakone origin pull enable%s\n", p.flags())
	}
	return nil
}

func (p *originPull) change(ctx context.Context, enabled bool) error {
	if (p.zone == "") == (p.host == "") {
		return usage("give one of --zone and --host")
	}
	c := admin.PullSwitch{Zone: p.zone, Host: p.host, Enabled: enabled}
	done, err := p.apply(ctx, admin.PullPath+"/enabled", c, func(pulls *server.Pulls) (*admin.PullChanged, error) { return pulls.Switch(c) })
	if err != nil {
		return err
	}
	p.said(done)
	return nil
}

// apply makes a change through the process, or in the folder.
func (p *originPull) apply(ctx context.Context, path string, body any, here func(*server.Pulls) (*admin.PullChanged, error)) (*admin.PullChanged, error) {
	pulls, err := p.offline(ctx)
	if err != nil {
		return nil, err
	}
	var done *admin.PullChanged
	if pulls != nil {
		if done, err = here(pulls); err == nil {
			if again, openErr := server.OpenPulls(ctx, p.config, p.namespace); openErr == nil {
				done.Pull = again.Of(p.zone, p.host, done.Pull)
			}
			return done, nil
		}
	} else {
		client, clientErr := p.admin.client()
		if clientErr != nil {
			return nil, clientErr
		}
		done = &admin.PullChanged{}
		err = client.Post(ctx, path, body, done)
	}
	var problem *admin.Problem
	if errors.As(err, &problem) {
		if problem.Object != "" {
			fmt.Fprintf(p.s.Err, "Apply this object by other means, with its Secret:\n%s\n", problem.Object)
		}
		if problem.Status == 400 || problem.Status == 404 {
			return nil, &Failure{What: "nothing was changed", Code: problem.Code, Cause: problem.Title, Fix: problem.Fix, Exit: ExitUsage}
		}
	}
	if err != nil {
		return nil, err
	}
	return done, nil
}

// said prints what the setting is now.
func (p *originPull) said(done *admin.PullChanged) {
	what, state := "host "+p.host, "off"
	if p.zone != "" {
		what = "zone " + p.zone
	}
	if done.Pull.Enabled {
		state = "on"
	}
	switch {
	case done.Pull.Subject != "":
		fmt.Fprintf(p.s.Out, "origin pull of %s is %s: %s, expires %s, %s\n", what, state, done.Pull.Subject, done.Pull.ExpiresOn.UTC().Format(time.DateOnly), done.Pull.Status)
	case done.Pull.Object != "" && !done.Pull.Enabled:
		fmt.Fprintf(p.s.Out, "origin pull of %s is off\n", what)
	default:
		fmt.Fprintf(p.s.Out, "origin pull of %s is as its zone says\n", what)
	}
	for _, f := range done.Files {
		fmt.Fprintf(p.s.Err, "written to %s\n", f)
	}
}

func (p *originPull) flags() string {
	if p.zone != "" {
		return " --zone " + p.zone
	}
	return " --host " + p.host
}

func (p *originPull) list(ctx context.Context) error {
	if err := checkFormat(p.output, "table", "json", "yaml"); err != nil {
		return err
	}
	pulls, err := p.offline(ctx)
	if err != nil {
		return err
	}
	var rows []admin.Pull
	if pulls != nil {
		rows = pulls.List()
	} else {
		client, err := p.admin.client()
		if err != nil {
			return err
		}
		if err := client.Get(ctx, admin.PullPath, &rows); err != nil {
			return err
		}
	}
	if p.output != "table" {
		return writeAs(p.s.Out, p.output, rows)
	}
	if len(rows) == 0 {
		fmt.Fprintln(p.s.Out, "no origin pull is set")
		return nil
	}
	t := newTable(p.s.Out, "ZONE", "HOST", "SUBJECT", "ISSUER", "EXPIRES", "STATUS", "ENABLED", "ID", "OBJECT")
	for _, r := range rows {
		expires, enabled := "", "no"
		if r.ExpiresOn != nil {
			expires = r.ExpiresOn.UTC().Format(time.DateOnly)
		}
		if r.Enabled {
			enabled = "yes"
		}
		t.row(r.Zone, r.Hostname, r.Subject, r.Issuer, expires, r.Status, enabled, r.ID, r.Object)
	}
	t.flush()
	for _, r := range rows {
		if r.Detail != "" {
			fmt.Fprintf(p.s.Out, "\n! %s: %s\n", r.Object, r.Detail)
		}
	}
	return nil
}
