# Calls the completion in the script $1 for the words that follow, as bash does after Tab. Prints what it offers.
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
spec=$(complete -p gomail) && [[ $spec == "complete -F _gomail gomail" ]] || exit 1
_gomail gomail "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
