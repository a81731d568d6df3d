package cli

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
)

// newCache is the group of commands about stored answers.
func newCache(s Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "cache", Short: "Look at stored answers of CachePolicies and ForwardProxies, and remove them"}
	cmd.AddCommand(newCacheLs(s), newCachePurge(s), newCacheStats(s))
	return cmd
}

func newCacheLs(s Streams) *cobra.Command {
	var flags adminFlags
	var output string
	var limit int
	cmd := &cobra.Command{
		Use:     "ls [TEXT]",
		Short:   "List stored answers, those whose URL holds TEXT",
		Example: "  hakone cache ls\n  hakone cache ls www.example.com/images/ -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := fmt.Sprintf("%s/ls?limit=%d", admin.CachePath, limit)
			if len(args) > 0 {
				path += "&url=" + url.QueryEscape(args[0])
			}
			var list admin.CacheList
			if err := flags.get(cmd.Context(), output, path, &list); err != nil {
				return err
			}
			if output != "table" {
				return writeAs(s.Out, output, &list)
			}
			t := newTable(s.Out, "URL", "STATUS", "BYTES", "AGE", "TTL", "HITS", "VARY", "CACHE")
			for _, c := range list.Caches {
				for _, i := range c.Items {
					t.row(i.URL, fmt.Sprint(i.Status), fmt.Sprint(i.Bytes), fmt.Sprint(i.Age), fmt.Sprint(i.TTL), fmt.Sprint(i.Hits), i.Vary, c.Name)
				}
			}
			t.flush()
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	cmd.Flags().IntVar(&limit, "limit", 1000, "answers to show of each cache, at most 10000")
	flags.register(cmd)
	return cmd
}

func newCachePurge(s Streams) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use:     "purge URL",
		Short:   "Remove a URL with all its variants from every cache",
		Example: "  hakone cache purge https://www.example.com/page",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("hakone cache purge takes one URL")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			var done admin.CachePurged
			if err := client.Post(cmd.Context(), admin.CachePath+"/purge", admin.CachePurge{URL: args[0]}, &done); err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "%s removed\n", plural(done.Answers, "answer"))
			return nil
		},
	}
	flags.register(cmd)
	return cmd
}

func newCacheStats(s Streams) *cobra.Command {
	var flags adminFlags
	var output string
	cmd := &cobra.Command{
		Use:     "stats",
		Short:   "Show how caches are doing",
		Example: "  hakone cache stats",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var stats admin.CacheStats
			if err := flags.get(cmd.Context(), output, admin.CachePath, &stats); err != nil {
				return err
			}
			if output != "table" {
				return writeAs(s.Out, output, &stats)
			}
			t := newTable(s.Out, "CACHE", "BYTES", "OF", "ANSWERS", "HITS", "STALE", "MISSES", "VALIDATED", "SHARED", "PASSED", "EVICTED", "PURGED")
			for _, c := range stats.Caches {
				t.row(c.Name, fmt.Sprint(c.Bytes), fmt.Sprint(c.MaxBytes), fmt.Sprint(c.Objects), fmt.Sprint(c.Hits), fmt.Sprint(c.Stale), fmt.Sprint(c.Misses),
					fmt.Sprint(c.Validated), fmt.Sprint(c.Collapsed), fmt.Sprint(c.Passed), fmt.Sprint(c.Evicted), fmt.Sprint(c.Purged))
			}
			t.flush()
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	flags.register(cmd)
	return cmd
}
