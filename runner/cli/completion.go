package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"
)

func completionCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the shell completion for bash, zsh or fish", ArgsUsage: "bash|zsh|fish",
		Description: "bash: source <(tmnotes completion bash)\nzsh:  source <(tmnotes completion zsh)\nfish: tmnotes completion fish | source",
		Action: func(c *cli.Context) error {
			switch shell := c.Args().First(); shell {
			case "bash":
				fmt.Fprint(env.Stdout, bashCompletion)
			case "zsh":
				fmt.Fprint(env.Stdout, zshCompletion)
			case "fish":
				text, err := c.App.ToFishCompletion()
				if err != nil {
					return err
				}
				fmt.Fprint(env.Stdout, text)
			default:
				return fmt.Errorf("completion for which shell? bash, zsh or fish, not %q", shell)
			}
			return nil
		},
		BashComplete: func(*cli.Context) { fmt.Fprintln(env.Stdout, "bash\nzsh\nfish") },
	}
}

// completionWord is what a shell puts behind the words that stand on the line.
const completionWord = "--generate-bash-completion"

// complete answers a shell with one word a line. Nothing is executed, whatever
// stands on the line: who presses TAB has not pressed Enter. urfave/cli alone
// does not see to that: with "--" on the line, it takes completionWord for an
// argument of the command that is to run.
func complete(ctx context.Context, app *cli.App, args []string) error {
	line := args[:len(args)-1]
	if i := slices.Index(line, "--"); i >= 0 {
		if i < len(line)-1 {
			return fmt.Errorf("nothing was executed: %s at the end of a line asks for its completion", completionWord)
		}
		line = line[:i] // a flag that is being typed
	}
	for _, command := range app.Commands {
		for _, c := range append(command.Subcommands, command) {
			c.Action = func(*cli.Context) error { return nil }
		}
	}
	app.Action = func(*cli.Context) error { return nil }
	return app.RunContext(ctx, slices.Concat([]string{app.Name}, line, []string{completionWord}))
}

const bashCompletion = `_tmnotes() {
	local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:COMP_CWORD}") w
	for w in "${words[@]:1}"; do
		if [[ $w == -- ]]; then
			COMPREPLY=($(compgen -c -f -- "$cur"))
			return
		fi
	done
	[[ $cur != -* ]] || words+=("$cur")
	COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _tmnotes tmnotes
`

const zshCompletion = `#compdef tmnotes
_tmnotes() {
	local -a answers
	local current=${words[CURRENT]}
	if (( ${words[(i)--]} < CURRENT )); then
		_normal
		return
	fi
	if [[ $current == -* ]]; then
		answers=("${(@f)$(${words[1,CURRENT-1]} "$current" --generate-bash-completion 2>/dev/null)}")
	else
		answers=("${(@f)$(${words[1,CURRENT-1]} --generate-bash-completion 2>/dev/null)}")
	fi
	compadd -a answers || _files
}
compdef _tmnotes tmnotes
`
