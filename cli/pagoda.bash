# Completion of pagoda(1) for bash: commands, guests, settings.
_pagoda()
{
	local current=${COMP_WORDS[COMP_CWORD]} command='' word i
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		[[ $word == -* ]] || { command=$word; break; }
	done
	local IFS=$' \t\n'
	if [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "--socket= --json --help --version $(pagoda --help 2>/dev/null | awk '/^  [a-z]/ { print $1 }')" -- "$current")
		return
	fi
	case $command in
	run | define)
		((COMP_CWORD - i > 1)) && words=$(_pagoda_settings) ;;
	tune)
		((COMP_CWORD - i > 1)) && words=$(_pagoda_settings) || words="host $(_pagoda_guests)" ;;
	undefine | start | stop | reboot | reset | pause | resume | show | console | log | events | explain | plan)
		words=$(_pagoda_guests) ;;
	*)
		words= ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words --json --help" -- "$current")
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
	return 0
}

_pagoda_guests()
{
	pagoda list --all --json 2>/dev/null | sed -n 's/^    "name": "\(.*\)",\{0,1\}$/\1/p'
}

_pagoda_settings()
{
	pagoda tune --help 2>/dev/null | sed -n 's/^Settings: *//p' | tr ' ' '\n' | sed 's/$/=/'
}

complete -F _pagoda -o default pagoda
