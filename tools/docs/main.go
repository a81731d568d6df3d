// Command docs writes the pages that are made from the catalogue of codes: docs/codes.md and the
// manual page docs/man/hakone-codes.7. It takes the root of the source tree, "." unless given:
//
//	go run ./tools/docs
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := "."
	if len(os.Args) == 2 {
		root = os.Args[1]
	}
	for name, text := range pages() {
		path := filepath.Join(root, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "docs:", err)
			os.Exit(1)
		}
	}
}
