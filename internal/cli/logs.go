package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/logstore"
	"github.com/hakone-gateway/hakone/internal/server"
)

// registerLogStore adds the flags of "hakone run" for the store of logs.
func registerLogStore(f *pflag.FlagSet, l *server.LogStore) {
	f.StringVar(&l.Dir, "log-store", "", "folder in which records of requests and handshakes are kept for hakone logs pull; empty: in memory; off: nowhere")
	f.Var(bytesVar(&l.Size, 0), "log-store-size", "bytes of records that are kept, compressed")
	f.DurationVar(&l.Age, "log-store-age", 0, "how long records are kept")
}

// newLogs is the group of commands about kept logs.
func newLogs(s Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "logs", Short: "Pull the records of requests and refused handshakes"}
	cmd.AddCommand(newLogsPull(s))
	return cmd
}

// pullFlags are the flags of "hakone logs pull".
type pullFlags struct {
	admin      adminFlags
	store      string
	ray        string
	follow     bool
	listFields bool

	start, end, fields, timestamps, host, status, code, kind string
	count                                                    int
	sample                                                   float64
}

func newLogsPull(s Streams) *cobra.Command {
	var p pullFlags
	cmd := &cobra.Command{
		Use:   "pull [HOST]",
		Short: "Print records of a time as lines of JSON",
		Long: `Prints the records of requests, and of handshakes that were refused, as one JSON object a line, by the time at which they ended.
HOST restricts them to a host and its subdomains; a port behind it is not looked at. Fields have the names of Cloudflare's Logpull; --available-fields lists them.
Without --start it is the last hour. The records come from the running process, or with --log-store from the folder that hakone run has as --log-store,
also while it runs.`,
		Example: `  hakone logs pull --start 2021-09-08T16:00:00+09:00 --end 2021-09-08T17:00:00+09:00
  hakone logs pull shop.example --start 10m --status 403 --fields RayID,ClientIP,MTLSReason,ClientCertFingerprint
  hakone logs pull --rayid 0f8fad5b-d9cb-469f-a165-70867728950e
  hakone logs pull --follow --code client_cert_missing`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("hakone logs pull takes one host at most")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			zone := "all"
			if len(args) == 1 {
				zone = logstore.ZoneName(args[0])
			}
			return p.run(cmd.Context(), s, zone, cmd.Flags())
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.start, "start", "1h", "begin: RFC 3339 with any offset, Unix seconds or nanoseconds, now, or a duration for that long ago")
	f.StringVar(&p.end, "end", "now", "end, which does not belong to it, in the same forms")
	f.StringVar(&p.fields, "fields", "", "fields, separated by commas (default: the nine of Logpull)")
	f.StringVar(&p.timestamps, "timestamps", "rfc3339", "how times are written: rfc3339, unix or unixnano")
	f.IntVar(&p.count, "count", -1, "at most so many records; -1 for all")
	f.Float64Var(&p.sample, "sample", 1, "share of the records, above 0 and at most 1; the same share has the same requests")
	f.StringVar(&p.ray, "rayid", "", "the record of this RayID, which is the X-Request-Id of the answer, however old")
	f.BoolVar(&p.follow, "follow", false, "go on with what comes, from now or --start")
	f.StringVar(&p.host, "host", "", "exactly this host, or *.SUFFIX")
	f.StringVar(&p.status, "status", "", "statuses: 403, 4xx or 400-499, separated by commas; 0 is a refused handshake")
	f.StringVar(&p.code, "code", "", "reasons: codes or slugs, separated by commas")
	f.StringVar(&p.kind, "kind", "", "request, handshake (of both sides, also successful ones) or all (default: requests, and refused handshakes of clients)")
	f.BoolVar(&p.listFields, "available-fields", false, "list the fields, with what they are")
	f.StringVar(&p.store, "log-store", "", "read this folder instead of asking a running process")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "ray-id" {
			name = "rayid"
		}
		return pflag.NormalizedName(name)
	})
	p.admin.register(cmd)
	complete(cmd, "kind", "request", "handshake", "all")
	complete(cmd, "timestamps", "rfc3339", "unix", "unixnano")
	_ = cmd.RegisterFlagCompletionFunc("fields", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndexByte(typed, ',')+1]
		var out []string
		for _, f := range logstore.Fields() {
			out = append(out, before+f.Name+"\t"+f.Doc)
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	return cmd
}

// query returns the parameters that were given, as the API takes them.
func (p *pullFlags) query(given *pflag.FlagSet) url.Values {
	v := url.Values{"timestamps": {p.timestamps}}
	for name, value := range map[string]string{"fields": p.fields, "host": p.host, "status": p.status, "code": p.code, "kind": p.kind} {
		if value != "" {
			v.Set(name, value)
		}
	}
	switch {
	case p.follow:
		v.Set("follow", "true")
		if given.Changed("start") {
			v.Set("start", p.start)
		}
		if given.Changed("end") {
			v.Set("end", p.end)
		}
	case p.ray == "":
		v.Set("start", p.start)
		v.Set("end", p.end)
	}
	if p.count != -1 {
		v.Set("count", strconv.Itoa(p.count))
	}
	if given.Changed("sample") {
		v.Set("sample", strconv.FormatFloat(p.sample, 'g', -1, 64))
	}
	return v
}

func (p *pullFlags) run(ctx context.Context, s Streams, zone string, given *pflag.FlagSet) error {
	if p.listFields {
		t := newTable(s.Out, "FIELD", "WHAT IT IS")
		for _, f := range logstore.Fields() {
			t.row(f.Name, f.Doc)
		}
		t.flush()
		return nil
	}
	v := p.query(given)
	q, err := logstore.ParseQuery(v, time.Now()) // faults are the caller's, whoever answers
	if err != nil {
		return queryFailure(err)
	}
	if p.store != "" {
		if zone != "all" {
			q.Zone = zone
		}
		return p.offline(ctx, s, q)
	}
	client, err := p.admin.client()
	if err != nil {
		return err
	}
	path := "/zones/" + url.PathEscape(zone) + "/logs/received?" + v.Encode()
	if p.ray != "" {
		path = "/zones/" + url.PathEscape(zone) + "/logs/rayids/" + url.PathEscape(p.ray) + "?" + v.Encode()
	}
	trailers, err := client.Stream(ctx, path, s.Out)
	var problem *admin.Problem
	switch {
	case ctx.Err() != nil && p.follow:
		return nil
	case errors.As(err, &problem), errors.Is(err, admin.ErrUnreachable):
		return err
	case err != nil:
		return &Failure{What: "the logs are not complete", Cause: err.Error(), Fix: "pull them again; with --follow, pull what is missing with --start", Exit: ExitFailed}
	}
	if n, err := strconv.Atoi(trailers.Get(logstore.TrailerDamaged)); err == nil {
		warnDamaged(s, n)
	}
	return nil
}

// offline reads a folder.
func (p *pullFlags) offline(ctx context.Context, s Streams, q *logstore.Query) error {
	folder, err := openLogFolder(p.store)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(s.Out, 64<<10)
	var res logstore.Result
	if p.ray != "" {
		res, err = q.WriteRay(ctx, folder, p.ray, out)
		if err == nil && res.Lines == 0 {
			e, _ := diag.Lookup(diag.LogRayNotFound)
			return &Failure{What: e.Title, Code: e.Code, Cause: e.Cause, Fix: e.Fix, Exit: ExitFailed}
		}
	} else {
		res, err = q.Write(ctx, folder, out, out.Flush)
	}
	if ctx.Err() != nil && q.Follow {
		err = nil
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return &Failure{What: "the logs are not complete", Cause: err.Error(), Fix: "pull them again", Exit: ExitFailed}
	}
	warnDamaged(s, res.Damaged)
	return nil
}

func openLogFolder(dir string) (*logstore.Folder, error) {
	folder, err := logstore.OpenFolder(dir)
	if err != nil {
		e, _ := diag.Lookup(diag.LogStoreNoFolder)
		return nil, &Failure{What: e.Title, Code: e.Code, Cause: err.Error(), Fix: e.Fix, Exit: ExitUsage}
	}
	return folder, nil
}

func warnDamaged(s Streams, places int) {
	if places > 0 {
		e, _ := diag.Lookup(diag.LogStoreDamaged)
		fmt.Fprintf(s.Err, "warning: %s: %d places (%s)\n", e.Title, places, e.Code)
	}
}

// queryFailure tells of a query that cannot be understood.
func queryFailure(err error) error {
	var bad *logstore.QueryError
	if !errors.As(err, &bad) {
		return err
	}
	e, _ := diag.Lookup(bad.Code)
	return &Failure{What: bad.Text, Code: bad.Code, Cause: firstOf(bad.Cause, e.Cause), Fix: e.Fix, Exit: ExitUsage}
}

// explainOffline tells the story of a request from a folder.
func explainOffline(ctx context.Context, w io.Writer, dir, id, output string) error {
	folder, err := openLogFolder(dir)
	if err != nil {
		return err
	}
	raw, known, err := logstore.Tell(ctx, folder, id)
	if err != nil {
		return &Failure{What: "the logs cannot be read", Cause: err.Error(), Fix: "look at the folder that --log-store names", Exit: ExitFailed}
	}
	if !known {
		e, _ := diag.Lookup(diag.LogRayNotFound)
		return &Failure{What: e.Title, Code: e.Code, Cause: e.Cause, Fix: e.Fix, Exit: ExitFailed}
	}
	return writeStory(w, raw, output)
}
