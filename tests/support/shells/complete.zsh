# Presses Tab after the line $2 in a real interactive zsh, on a terminal of its own, with the script $1 loaded.
# Prints the words that it offers, one a line.
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; autoload -Uz compinit; compinit -u -d $1.dump; source $1"
# With -O, -A or -D nothing is offered, only asked.
zpty -w z 'compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  local -a offered; local word
  builtin compadd -A offered "$@"; builtin compadd "$@"
  for word in $offered; print -r -- "OFFERED:$word"
}'
zpty -w z 'tab() { zle complete-word; print "THE""END"; exit }; zle -N tab; bindkey "^I" tab; print "REA""DY"'
while zpty -r z line; do [[ $line == *READY* ]] && break; done
zpty -n -w z "$2"$'\t'
while zpty -r z line; do
  [[ $line == *THEEND* ]] && break
  [[ $line == *OFFERED:* ]] && print -r -- "${${line##*OFFERED:}%%$'\r'*}"
done
zpty -d z
