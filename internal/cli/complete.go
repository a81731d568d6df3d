package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// complete offers the words of a flag to shells.
func complete(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeOutputs offers the words of --output for a command and all below it, as its usage lists them
// before whatever explains them.
func completeOutputs(cmd *cobra.Command) {
	if f := cmd.Flags().Lookup("output"); f != nil {
		list, _, _ := strings.Cut(strings.NewReplacer(" or ", ", ").Replace(f.Usage), ";")
		list, _, _ = strings.Cut(list, ":")
		var words []string
		for word := range strings.SplitSeq(list, ", ") {
			if word, _, _ = strings.Cut(strings.TrimSpace(word), " "); word != "" && !strings.HasSuffix(word, ")") {
				words = append(words, word)
			}
		}
		complete(cmd, "output", words...)
	}
	for _, c := range cmd.Commands() {
		completeOutputs(c)
	}
}
