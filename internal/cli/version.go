package cli

import (
	"crypto/fips140"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/server"
)

func newVersion(s Streams) *cobra.Command {
	var output string
	var sbom bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print version, build and modules",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkFormat(output, "text", "json", "yaml"); err != nil {
				return err
			}
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{GoVersion: runtime.Version()}
			}
			if sbom {
				return writeAs(s.Out, "json", sbomOf(info))
			}
			b := build(info)
			if output != "text" {
				return writeAs(s.Out, output, b)
			}
			fmt.Fprintf(s.Out, "hakone %s (%s, %s, %s/%s)\n", b["version"], b["commit"], b["go"], runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	cmd.Flags().BoolVar(&sbom, "sbom", false, "print this binary's bill of materials (CycloneDX 1.6, JSON)")
	return cmd
}

func build(info *debug.BuildInfo) map[string]any {
	commit, dirty := "unknown", false
	for _, set := range info.Settings {
		switch set.Key {
		case "vcs.revision":
			commit = set.Value[:min(12, len(set.Value))]
		case "vcs.modified":
			dirty = set.Value == "true"
		}
	}
	return map[string]any{"version": server.Version, "commit": commit, "dirty": dirty, "go": info.GoVersion, "fips140": fips140.Enabled(),
		"os": runtime.GOOS, "arch": runtime.GOARCH, "modules": len(info.Deps)}
}

// sbomOf lists the modules that are linked into this very binary (CycloneDX 1.6).
func sbomOf(info *debug.BuildInfo) map[string]any {
	components := []map[string]any{{
		"type": "library", "name": "std", "version": strings.TrimPrefix(info.GoVersion, "go"),
		"purl": "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"),
	}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		components = append(components, map[string]any{"type": "library", "name": m.Path, "version": m.Version,
			"purl": "pkg:golang/" + m.Path + "@" + m.Version})
	}
	return map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata": map[string]any{"component": map[string]any{"type": "application", "name": "hakone", "version": server.Version,
			"purl": "pkg:golang/" + info.Main.Path + "@" + server.Version}},
		"components": components,
	}
}
