// Ways of telling a model to forget its orders that keep coming back, whatever they are used for.
rule override_of_instructions
{
    strings:
        $a = /\b(ignore|disregard|forget|override|bypass|skip)\s+(about\s+)?(all\s+|any\s+|every\s+|the\s+|your\s+|my\s+|of\s+|these\s+|those\s+|previous\s+|prior\s+|above\s+|earlier\s+|preceding\s+|initial\s+|original\s+|system\s+|safety\s+){1,5}(instructions?|prompts?|rules|directives?|guidelines|guardrails|messages|programming|training)\b/ nocase
        $b = /\bdo\s+not\s+(follow|obey|listen\s+to)\s+(the\s+|your\s+|any\s+|all\s+|of\s+)*(previous\s+|prior\s+|above\s+|earlier\s+|original\s+|system\s+)(instructions?|prompts?|rules|directives?|guidelines)\b/ nocase
        $c = /\b(new|updated|real|actual)\s+(system\s+)?(instructions?|prompt|rules)\s*:\s/ nocase
    condition:
        any of them
}

rule theft_of_the_system_prompt
{
    strings:
        $verb = /\b(reveal|print|repeat|show|output|display|recite|leak|tell\s+me|give\s+me|write\s+out|translate|summari[sz]e)\s+(me\s+)?(all\s+|the\s+|your\s+|entire\s+|full\s+|exact\s+|complete\s+|whole\s+|verbatim\s+|hidden\s+|secret\s+|original\s+|initial\s+|of\s+){1,5}(system\s+(prompt|message|instructions?)|initial\s+(prompt|instructions?)|hidden\s+(prompt|instructions?)|instructions\s+(above|you\s+were\s+given))/ nocase
        $above = /\b(repeat|print|output|copy)\s+(everything|all\s+the\s+text|all\s+text|the\s+words|the\s+text)\s+(that\s+(is|are|was|were)\s+)?above\b/ nocase
    condition:
        any of them
}

rule persona_without_rules
{
    strings:
        $dan = /\b(you\s+are|act\s+as|pretend\s+(to\s+be|you\s+are)|become|respond\s+as|simulate|roleplay\s+as)\s+(now\s+|going\s+to\s+be\s+)?(a\s+|an\s+)?["']?(DAN|STAN|DUDE|AIM|an?\s+unrestricted|an?\s+uncensored|an?\s+unfiltered|unrestricted|uncensored|unfiltered|evil)\b/ nocase
        $now = /\bdo\s+anything\s+now\b/ nocase
        $mode = /\b(developer|god|jailbreak|dan|debug|sudo|unrestricted|maintenance)\s+mode\s+(is\s+)?(now\s+)?(enabled|activated|on|unlocked)\b/ nocase
        $enter = /\b(enter|enable|activate|switch\s+(in)?to)\s+(developer|god|jailbreak|dan|unrestricted)\s+mode\b/ nocase
        $free = /\b(without|no|free\s+of|ignoring)\s+(any\s+|all\s+|your\s+)?(ethical|moral|safety|content)\s+(restrictions?|guidelines|constraints?|limitations?|filters?|policies|policy)\b/ nocase
    condition:
        any of them
}

rule forged_turn
{
    strings:
        $chat = /<\|(im_start|im_end|start_header_id|end_header_id|eot_id|endoftext|system|assistant)\|>/ nocase
        $inst = /\[\/?(INST|SYS)\]|<<\/?SYS>>/
        $heading = /(^|\n)\s*#{2,}\s*(system|instruction|assistant)\s*:?\s*(\n|$)/ nocase
        $line = /(^|\n)\s*(system|assistant)\s*:\s*(you\s+(are|must|will)|ignore|disregard|new)\b/ nocase
    condition:
        any of them
}
