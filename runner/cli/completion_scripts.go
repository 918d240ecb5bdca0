package cli

// What a shell is told: it asks tmnotes for the words, but for those of another command line.
var completionScripts = map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}

const bashCompletion = `_tmnotes() {
	local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:COMP_CWORD}") w line
	for w in "${words[@]:1}"; do
		if [[ $w == -- ]]; then
			COMPREPLY=($(compgen -c -f -- "$cur"))
			return
		fi
	done
	[[ $cur != = ]] || cur=
	COMPREPLY=()
	while IFS= read -r line; do
		printf -v w %q "${line%%$'\t'*}"
		COMPREPLY+=("$w")
	done < <("${words[@]}" "$cur" --generate-bash-completion 2>/dev/null)
}
complete -o bashdefault -o default -F _tmnotes tmnotes
`

const zshCompletion = `#compdef tmnotes
_tmnotes() {
	local -i at=${words[(i)--]}
	if (( at < CURRENT )); then
		shift $at words
		(( CURRENT -= at ))
		_normal
		return
	fi
	local -a answers
	local line word
	"${(@Q)words[1,CURRENT-1]}" "${(Q)words[CURRENT]}" --generate-bash-completion 2>/dev/null | while IFS= read -r line; do
		word=${${line%%$'\t'*}//:/\\:}
		[[ $line != *$'\t'* ]] || word+=:${line#*$'\t'}
		answers+=("$word")
	done
	if (( $#answers )); then
		_describe -V tmnotes answers
	else
		_files
	fi
}
compdef _tmnotes tmnotes
`

const fishCompletion = `function __tmnotes_complete
	set -l words (commandline -opc)
	set -l current (commandline -ct)
	if set -l at (contains -i -- -- $words)
		set -l rest (string escape -- $words[(math $at + 1)..-1])
		complete -C (string join ' ' -- $rest "$current")
		return
	end
	set -l answers (command $words "$current" --generate-bash-completion 2>/dev/null)
	if test (count $answers) -gt 0
		printf '%s\n' $answers
	else
		__fish_complete_path "$current"
	end
end
complete -c tmnotes -f -a '(__tmnotes_complete)'
`
