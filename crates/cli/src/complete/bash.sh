# bash also divides words at = and :, and completes the last part only. Parts without a space between them are one word.
_composefs() {
    local line=${COMP_LINE:0:COMP_POINT} rest word prefix words=() i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${line#"${line%%[![:space:]]*}"}
        word=${COMP_WORDS[i]}
        ((i == COMP_CWORD)) && word=$rest
        if ((i > 0)) && [[ $rest == "$line" ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        line=${rest#"$word"}
    done
    word=${words[${#words[@]}-1]}
    [[ $word == [\"\']* ]] && word=$2
    words[${#words[@]}-1]=$word
    prefix=${word%"$2"}

    local IFS=$'\013' space=true
    compopt +o nospace 2>/dev/null && space=false
    COMPREPLY=($(_CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) _CLAP_COMPLETE_COMP_TYPE="$COMP_TYPE" \
        _CLAP_COMPLETE_SPACE="$space" COMPLETE=bash command composefs -- "${words[@]}")) || { unset COMPREPLY; return; }
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$prefix"}
    done
    [[ $space == false && ${COMPREPLY-} =~ [=/:]$ ]] && compopt -o nospace
    return 0
}
if [[ ${BASH_VERSINFO[0]} -eq 4 && ${BASH_VERSINFO[1]} -ge 4 || ${BASH_VERSINFO[0]} -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _composefs composefs
else
    complete -o nospace -o bashdefault -F _composefs composefs
fi
