package diag

// Findings of hakone import.
const (
	ImportNoEffect  Code = 5901
	ImportDangerous Code = 5902
	ImportRefused   Code = 5903
	ImportSyntax    Code = 5904
)

// importCodes are findings of hakone import: 5900 to 5939.
func importCodes() []Entry {
	return []Entry{
		{ImportNoEffect, "import_no_effect", Info, "a line or a part of it has no effect",
			"What the line asks for is always so, or is about how the other program works inside.", "Nothing to do.", 0},
		{ImportDangerous, "import_dangerous", Warning, "a line is honoured that is dangerous",
			"The line is taken over as it stands, and it gives up protection: the note says which.", "Do what the line's own fix says.", 0},
		{ImportRefused, "import_refused", Error, "a line cannot be taken over",
			"Hakone does not do what the line asks for. Rules that would open something for want of it are left out, rules that close something are kept.", "Do what the line's own fix says.", 0},
		{ImportSyntax, "import_syntax", Error, "a line cannot be read",
			"The line breaks the other program's own rules.", "Correct the line.", 0},
	}
}
